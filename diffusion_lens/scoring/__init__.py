"""Scoring: yes/no questions on images, who answers them, and the one table that all answers go to."""
