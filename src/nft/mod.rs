//! Packet filter rulesets, applied as one transaction and never read back.
