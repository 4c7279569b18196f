//! The durable record of what this host has promised and what it still has to finish.
