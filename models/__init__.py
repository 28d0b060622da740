"""Every number that Loupe shows: pure torch and NumPy, without Streamlit or Plotly."""
