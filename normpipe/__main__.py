"""`python -m normpipe` is `normpipe`: what a worker process or a batch script starts without relying on PATH."""

from normpipe.cli import main

if __name__ == "__main__":
    main()
