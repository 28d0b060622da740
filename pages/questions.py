"""Questions: all interview questions and claims of Loupe in one place."""

import streamlit as st

from components.catalogue import QUESTIONS, lesson
from components.question_list import question_list
from components.words import language

words = lesson(QUESTIONS.name, language())
st.title(words.title, anchor=False)
st.markdown(words.question)
question_list()
