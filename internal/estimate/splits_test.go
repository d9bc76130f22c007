package estimate

import (
	"reflect"
	"testing"
)

// The rows were held out by StratifiedShuffleSplit(n_splits=10, test_size=0.1, random_state=42) of scikit-learn 1.9.1.
func TestRowsAreHeldOutAsScikitLearnDrawsThem(t *testing.T) {
	for _, c := range []struct {
		name            string
		rows, positives int
		want            [folds][]int
	}{
		{"outcomes of 10 and 15 rows, a remainder to the larger one", 25, 10, [folds][]int{
			{10, 18, 6}, {3, 15, 6}, {21, 24, 0}, {15, 10, 23}, {18, 21, 6}, {16, 12, 20}, {14, 6, 4}, {1, 2, 24}, {1, 24, 21}, {12, 23, 24}}},
		{"outcomes of equally many rows", 40, 20, [folds][]int{
			{28, 0, 15, 1}, {9, 27, 29, 24}, {9, 8, 39, 23}, {2, 11, 22, 30}, {36, 34, 23, 5}, {0, 24, 16, 3}, {22, 17, 36, 30}, {19, 4, 6, 38}, {15, 24, 25, 26}, {19, 32, 21, 23}}},
		{"few rows", 21, 2, [folds][]int{
			{10, 5, 6}, {10, 18, 13}, {20, 9, 11}, {14, 15, 7}, {18, 4, 19}, {9, 5, 19}, {20, 1, 18}, {5, 10, 18}, {11, 8, 15}, {8, 10, 9}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			truth := make([]bool, c.rows)
			for i := range truth {
				truth[i] = i*7%c.rows < c.positives
			}
			if got := splits(truth); !reflect.DeepEqual(got, c.want) {
				t.Errorf("held out are %v, want %v", got, c.want)
			}
		})
	}
}
