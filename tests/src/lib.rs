//! Nothing: what is tested here is in `tests/tests`, one binary for the whole house.
