"""The rules of the gateway as pure data and functions: no I/O, clock or randomness."""
