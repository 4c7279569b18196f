//! The only place where parts meet: configuration, cloud session, core, listeners, drain.
