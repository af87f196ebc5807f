"""What people look at: numbers, time lines, and why things are as they are. Nothing here writes."""
