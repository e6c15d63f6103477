"""How far a bundle may be trusted, and the report that says so."""
