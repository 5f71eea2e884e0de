"""The conformance kit: test vectors for ports of FFF to any language, a checker, and a catalogue of known faults."""
