"""Small things built with agentlog, to read and to start from."""
