//! Counters and durations of the daemon in Prometheus text.
