package main

import "testing"

func TestMedianRatioIsOfTheSameTurn(t *testing.T) {
	t.Parallel()
	// Medians of all turns would say 18 to 15.
	over, under := []float64{9, 18, 30}, []float64{10, 20, 15}
	if got := medianRatio(over, under); got < 0.899 || got > 0.901 {
		t.Errorf("median ratio is %v, want 0.9", got)
	}
	if got := medianRatio(over[:1], []float64{3, 1}); got != 3 {
		t.Errorf("median ratio of turns that both have is %v, want 3", got)
	}
}
