"""Run with `python3 -m unittest` in this folder."""

import unittest

import fragment


class FragmentTest(unittest.TestCase):
    def test_it_is_html(self):
        values = {name: "example" for name in fragment.PARAMS}
        self.assertTrue(fragment.fragment(values).startswith("<p>"))
