"""What an audit looks at, one comparison a module. Nothing here writes anything but a temporary file."""
