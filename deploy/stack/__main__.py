"""python -m deploy.stack up | down | status | env: a stack that stays until it is taken down."""

from __future__ import annotations

import argparse
import shlex
import sys

from deploy.stack.dist import STACK_DIRECTORY
from deploy.stack.process import StackError
from deploy.stack.stack import Stack

HOME = STACK_DIRECTORY / "run" / "up"


def up() -> int:
    """Start whatever does not run yet, with the data of last time."""
    running = Stack.attach(HOME)
    if running is None or not any(running.alive().values()):
        Stack(HOME).start(detached=True)
    else:
        for service, alive in running.alive().items():
            if not alive:
                running.restart(service)
    return status()


def down(*, wipe: bool) -> int:
    """Stop everything."""
    stack = Stack.attach(HOME)
    if stack is not None:
        stack.stop(wipe=wipe)
    print("down")
    return 0


def status() -> int:
    """Say what runs and where; 1 unless all of it does."""
    stack = Stack.attach(HOME)
    if stack is None:
        print("down")
        return 1
    alive = stack.alive()
    for service, address in stack.addresses().items():
        print(f"{service:10} {'up' if alive[service] else 'down':5} {address}  log {stack.log_file(service)}")
    return 0 if all(alive.values()) else 1


def environment() -> int:
    """Shell exports: eval "$(python -m deploy.stack env)"."""
    stack = Stack.attach(HOME)
    if stack is None or not all(stack.alive().values()):
        print("the stack is down; start it with: python -m deploy.stack up", file=sys.stderr)
        return 1
    postgres = stack.postgres
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap,
        "CONNECT_URL": stack.connect_url,
        "PGHOST": postgres["host"],
        "PGPORT": postgres["port"],
        "PGUSER": postgres["user"],
        "PGPASSWORD": postgres["password"],
        "PGDATABASE": postgres["dbname"],
    }
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(str(value))}")
    return 0


def main() -> int:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(prog="python -m deploy.stack", description=__doc__)
    parser.add_argument("command", choices=("up", "down", "status", "env"))
    parser.add_argument("--wipe", action="store_true", help="with down: remove the data as well")
    options = parser.parse_args()
    commands = {"up": up, "down": lambda: down(wipe=options.wipe), "status": status, "env": environment}
    try:
        return commands[options.command]()
    except StackError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
