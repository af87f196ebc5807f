"""Take many keys over: from a manifest, or from the official SDK's configuration."""
