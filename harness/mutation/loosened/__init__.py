"""Loosened checkers: does a test or a planted bug show that a checker's bound or comparison has lost its effect?"""
