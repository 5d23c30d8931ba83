"""Features and recordings together: encoding scores, figures, the report."""
