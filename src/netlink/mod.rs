//! rtnetlink, blocking: links, addresses, routes, namespaces.
