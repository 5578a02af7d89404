"""The public test kit: does an agent survive? Fakes that are strict, faults that are planned."""
