"""Plan a screen from a pilot: what can be found with how many wells, and where they should lie.

`pilot` learns from control wells what wells differ by, `power` simulates screens of a plan and
tests them as the fast screen does, `places` deals conditions to wells, `page` shows all.
"""
