//! The oslo.config file grammar, the table of options and the effective configuration.
