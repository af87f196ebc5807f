"""The example platform and its simulator until Ctrl-C. Run it with `make serve`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from demo import DATA, HERE, HOST, free_port, keep_to_own_folder, simulator


def main() -> None:
    if not (DATA / "simulator.pem").exists():
        raise SystemExit("Run `make demo` first: it makes the database that this shows.")
    keep_to_own_folder()
    port = free_port()
    os.environ["CYBS_BASE_URLS"] = json.dumps({HOST: f"http://127.0.0.1:{port}"})
    os.environ["DEBUG"] = "1"  # Django serves the admin's style sheets only then
    password = (DATA / "admin-password").read_text()
    print(f"Log in at http://127.0.0.1:8000/admin/ as admin, password {password}")
    with simulator(port):
        line = [sys.executable, str(HERE / "manage.py"), "cybs_worker", "--threads", "2"]
        worker = subprocess.Popen(line)
        try:
            command = [sys.executable, str(HERE / "manage.py"), "runserver", "127.0.0.1:8000"]
            subprocess.run(command, check=False)
        except KeyboardInterrupt:
            print()
        finally:
            worker.terminate()
            worker.wait()


if __name__ == "__main__":
    main()
