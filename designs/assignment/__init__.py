"""Which unit gets which arm, and why.

``hashing.bucket`` is the function everything rests on; ``steps`` lists the gates in order;
``assign.assign`` and ``assign.assignment_query`` apply them to ids and to the whole population;
``explain.explain`` shows the arithmetic for one unit.
"""
