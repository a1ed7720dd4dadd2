"""Between the messages of the wire and the values of the domain, by hand, in both directions. The only place for it."""
