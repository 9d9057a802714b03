"""The captured model: programs, what holds at their nodes, and careful changes to them."""
