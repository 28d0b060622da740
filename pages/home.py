"""Home: a figure that moves under the hand, three doors, and every view by its name."""

from components.home import home

home()
