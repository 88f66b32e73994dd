"""Print docs/errors.md."""

from tests.error_lines.page import describe_errors

if __name__ == "__main__":
    print(describe_errors(), end="")
