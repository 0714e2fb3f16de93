"""The only room that knows SQL: tables, sessions, and one module per noun."""
