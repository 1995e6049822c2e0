"""Measures the budgets of this project, side by side with its peers, and says what it found."""
