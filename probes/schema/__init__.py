"""Typed models of everything stored or passed between layers."""
