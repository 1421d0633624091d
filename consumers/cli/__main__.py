"""`python -m consumers.cli` is `agentlog`."""

from consumers.cli.main import main

if __name__ == "__main__":
    main()
