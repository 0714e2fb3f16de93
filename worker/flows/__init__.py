"""The straight lines: each public function is one thing that an operator, a schedule or the console can ask for."""
