"""Hierarchical Bayes: the effects of cohorts, partially pooled.

``exact`` integrates the normal model by quadrature; ``marginal`` samples the same model with PyMC,
``paired`` the models of counts and amounts. All return draws or moments of one shape of values, and
nothing sampled is used before ``gate`` has let it through.
"""
