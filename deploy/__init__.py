"""What surrounds the bridge: the stack to try it on, and the files to run it with."""
