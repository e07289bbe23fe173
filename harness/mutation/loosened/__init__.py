"""Loosened checkers: does anything notice when a checker's bound or comparison no longer decides?"""
