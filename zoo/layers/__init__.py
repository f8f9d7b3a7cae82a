"""Layers: functions over parameter trees, and builders of the declarations they need."""
