"""Who answers what pages ask of networks: this process, or a pool of Ray Serve."""
