//! Logging: set up once by the program, used everywhere through `tracing`.
