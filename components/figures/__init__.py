"""Arrays in, Plotly figures out; no Streamlit here."""
