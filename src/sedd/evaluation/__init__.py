"""The likelihood bound."""
