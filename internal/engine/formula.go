package engine

// Portable is a model that can be taken apart into a Formula, from which other formats are written. It fails with
// problem.Unsupported, naming what a formula cannot hold.
type Portable interface {
	Portable() (Formula, error)
}

// Formula is a model of trees or weights over a matrix of numbers, independent of the file it stood in: per row and group
//
//	sum = Σ trees, divided by Divide, + Base        or        sum = Σ Weights · x + Base
//
// and Link makes the answers of the sums.
type Formula struct {
	Input, Output string // names of the tensors
	Columns       []string
	Features      int
	Double        bool // rows and answers are FP64, else FP32
	Groups        int  // sums of a row
	Trees         []FormulaTree
	Divide        float64   // of trees; 0 is 1
	Base          []float64 // per group
	Weights       []float64 // groups × features; nil for trees
	Fill          []float64 // per feature: what stands for NaN among weights; nil: nothing is missing
	Link          string    // see the Link constants
	Slope         float64   // of LinkLogistic; 0 is 1
	Pair          bool      // the one sum's answer p becomes 1−p and p
	Labels        []string  // names of the classes; a second output then tells the winning one
	Numbers       []int64   // the classes when they are numbers
	Threshold     float64   // of a pair: p from which the second class wins
	Label         string    // name of the second output
}

// Links of a Formula.
const (
	LinkIdentity = "identity"
	LinkLogistic = "logistic" // 1 / (1 + exp(−slope·sum))
	LinkExp      = "exp"
	LinkSoftmax  = "softmax" // over the groups
	LinkOVR      = "ovr"     // logistic of each group, divided by their sum
	LinkClass    = "class"   // index of the first largest sum, as a number
	LinkStep     = "step"    // 1 above 0, else 0
	LinkSquare   = "square"
	LinkSigned   = "signed-square" // sign(sum) · sum²
	LinkSoftplus = "softplus"
	LinkInverse  = "inverse"
	LinkCloglog  = "cloglog"
)

// FormulaTree is one tree; node 0 is its root and every child lies behind its parent.
type FormulaTree []FormulaNode

// FormulaNode is a leaf when Yes is 0: it adds Values to the sums. Otherwise it asks whether x[Feature] is less than the
// threshold, or equal to it with OrEqual; NaN goes the way of yes with MissingYes.
type FormulaNode struct {
	Feature    int32
	Threshold  float64
	OrEqual    bool
	MissingYes bool
	Yes, No    int32
	Values     []FormulaValue
}

// FormulaValue is what a leaf adds to a group.
type FormulaValue struct {
	Group int32
	Value float64
}
