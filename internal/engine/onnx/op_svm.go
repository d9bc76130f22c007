package onnx

import (
	"math"

	"keelson/internal/tensor"
)

// machine is the part that both support vector operators share: kernels between a row and the support vectors.
type machine struct {
	kernel               string
	gamma, coef0, degree float64
	vectors              []float32
	coefficients, rho    []float32
	count, features      int
}

func (n *node) machine(count int) machine {
	m := machine{kernel: n.text("kernel_type", "LINEAR"), vectors: n.floats("support_vectors"), coefficients: n.floats("coefficients"), rho: n.floats("rho"), count: count}
	if p := n.floats("kernel_params"); len(p) >= 3 {
		m.gamma, m.coef0, m.degree = float64(p[0]), float64(p[1]), float64(p[2])
	}
	switch m.kernel {
	case "LINEAR", "POLY", "RBF", "SIGMOID":
	default:
		n.lacks("the kernel %q", clip(m.kernel))
	}
	if len(m.rho) == 0 || len(m.coefficients) == 0 {
		n.wrong("it lacks coefficients or rho")
		return m
	}
	if count > 0 {
		if m.features = len(m.vectors) / count; m.features == 0 || len(m.vectors)%count != 0 {
			n.wrong("it has %d numbers for %d support vectors", len(m.vectors), count)
		}
	}
	return m
}

// dot is one kernel value.
func (m *machine) dot(x, v []float32) float64 {
	sum := 0.0
	if m.kernel == "RBF" {
		for i, a := range v {
			d := float64(x[i]) - float64(a)
			sum += d * d
		}
		return math.Exp(-m.gamma * sum)
	}
	for i, a := range v {
		sum += float64(x[i]) * float64(a)
	}
	switch m.kernel {
	case "POLY":
		return math.Pow(m.gamma*sum+m.coef0, m.degree)
	case "SIGMOID":
		return math.Tanh(m.gamma*sum + m.coef0)
	}
	return sum
}

func (m *machine) rows(c *call, t *tensor.Tensor) (rows int, x []float32) {
	rows, width := c.matrix(t)
	if width != m.features {
		c.fail("takes %d columns, not %d", m.features, width)
	}
	return rows, c.numbers(t)
}

func svmRegressor(n *node) (kernel, error) {
	count := n.int("n_supports", 0)
	if count < 0 || count > 1<<30 {
		n.wrong("it has %d support vectors", count)
		return nil, n.err
	}
	m, s, oneClass := n.machine(int(count)), n.scores(), n.int("one_class", 0) != 0
	if n.err != nil {
		return nil, n.err
	}
	if count == 0 {
		m.features, m.kernel = len(m.coefficients), "LINEAR"
	} else if len(m.coefficients) < m.count {
		n.wrong("it has %d coefficients for %d support vectors", len(m.coefficients), m.count)
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		rows, x := m.rows(c, in[0])
		shape := c.ints(2)
		shape[0], shape[1] = rows, 1
		v := c.f32s(&out[0], shape)
		for r := range rows {
			row := x[r*m.features : (r+1)*m.features]
			sum := 0.0
			if m.count == 0 {
				sum = m.dot(row, m.coefficients)
			}
			for k := range m.count {
				sum += float64(m.coefficients[k]) * m.dot(row, m.vectors[k*m.features:(k+1)*m.features])
			}
			sum += float64(m.rho[0])
			switch {
			case oneClass && sum > 0:
				v[r] = 1
			case oneClass:
				v[r] = -1
			case s.transform == "PROBIT":
				v[r] = probit(float32(sum))
			default:
				v[r] = float32(sum)
			}
			c.tick(4 * len(m.vectors))
		}
	}, nil
}

func svmClassifier(n *node) (kernel, error) {
	k, s := n.classes("classlabels_strings", "classlabels_ints"), n.scores()
	perClass := n.ints("vectors_per_class")
	total := int64(0)
	for _, v := range perClass {
		if v < 0 || v > 1<<30 {
			n.wrong("a class has %d support vectors", v)
			return nil, n.err
		}
		total += v
	}
	if total > 1<<30 || k.len() > 1<<15 {
		n.wrong("it has %d support vectors for %d classes", total, k.len())
		return nil, n.err
	}
	m := n.machine(int(total))
	if n.err != nil {
		return nil, n.err
	}
	if total == 0 {
		return linearMachine(n, m, k, s)
	}
	classes, pairs := k.len(), k.len()*(k.len()-1)/2
	probA, probB := n.floats("prob_a"), n.floats("prob_b")
	proba := len(probA) > 0
	switch {
	case classes < 2 || len(perClass) != classes:
		n.wrong("it has %d classes and support vectors for %d", classes, len(perClass))
	case len(m.coefficients) < (classes-1)*m.count || len(m.rho) < pairs || proba && (len(probA) < pairs || len(probB) < pairs):
		n.wrong("it has %d coefficients and %d constants for %d pairs of classes", len(m.coefficients), len(m.rho), pairs)
	}
	start := make([]int, classes+1)
	for i := range min(classes, len(perClass)) {
		start[i+1] = start[i] + int(perClass[i])
	}
	width := pairs
	if proba {
		width = classes
	} else if classes == 2 {
		width = 2
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		rows, x := m.rows(c, in[0])
		shape := c.ints(2)
		shape[0], shape[1] = rows, width
		var spare tensor.Tensor
		second := &spare
		if len(out) > 1 {
			second = &out[1]
		}
		v := c.f32s(second, shape)
		c.spend(m.count+pairs+3*classes*classes, 8)
		near, raw := c.f64.take(m.count), c.f32.take(pairs)
		votes := c.ints(classes)
		chosen := c.ints(rows)
		for r := range rows {
			row := x[r*m.features : (r+1)*m.features]
			for i := range near {
				near[i] = m.dot(row, m.vectors[i*m.features:(i+1)*m.features])
			}
			clear(votes)
			pair := 0
			for i := range classes {
				for j := i + 1; j < classes; j++ {
					sum := 0.0
					for p := start[i]; p < start[i+1]; p++ {
						sum += float64(m.coefficients[(j-1)*m.count+p]) * near[p]
					}
					for p := start[j]; p < start[j+1]; p++ {
						sum += float64(m.coefficients[i*m.count+p]) * near[p]
					}
					sum += float64(m.rho[pair])
					raw[pair] = float32(sum)
					if pair++; sum > 0 {
						votes[i]++
					} else {
						votes[j]++
					}
				}
			}
			for i := range votes {
				if votes[i] > votes[chosen[r]] {
					chosen[r] = i
				}
			}
			line := v[r*width : (r+1)*width]
			switch {
			case proba:
				coupled(c, raw, probA, probB, line)
				s.row(line)
			case classes == 2:
				switch s.transform {
				case "NONE":
					line[0], line[1] = -raw[0], raw[0]
				case "LOGISTIC":
					line[0], line[1] = logistic(-raw[0]), logistic(raw[0])
				default:
					line[0], line[1] = 1-raw[0], raw[0]
				}
			default:
				copy(line, raw)
				s.row(line)
			}
			c.tick(4*len(m.vectors) + classes*m.count)
		}
		k.labels(c, &out[0], rows, func(r int) int { return chosen[r] })
	}, nil
}

// coupled turns the scores of pairs of classes into one probability per class: Wu, Lin and Weng, Probability Estimates
// for Multi-class Classification by Pairwise Coupling, 2004, method 2.
func coupled(c *call, raw, a, b, p []float32) {
	n := len(p)
	r, q := c.f64.take(n*n), c.f64.take(n*n)
	pair := 0
	for i := range n {
		for j := i + 1; j < n; j++ {
			v := 1 - float64(logistic(raw[pair]*a[pair]+b[pair]))
			v = min(max(v, 1e-7), 1-1e-7)
			r[i*n+j], r[j*n+i] = v, 1-v
			pair++
		}
	}
	if n == 2 {
		p[0], p[1] = float32(r[1]), float32(r[2])
		return
	}
	for i := range n {
		p[i] = 1 / float32(n)
		for j := range n {
			if i != j {
				q[i*n+i] += r[j*n+i] * r[j*n+i]
				q[i*n+j] = -r[j*n+i] * r[i*n+j]
			}
		}
	}
	qp := c.f64.take(n)
	x := c.f64.take(n)
	for i := range x {
		x[i] = 1 / float64(n)
	}
	for range 100 {
		pqp := 0.0
		for i := range n {
			qp[i] = 0
			for j := range n {
				qp[i] += q[i*n+j] * x[j]
			}
			pqp += x[i] * qp[i]
		}
		worst := 0.0
		for i := range n {
			worst = max(worst, math.Abs(qp[i]-pqp))
		}
		if worst < 0.005/float64(n) {
			break
		}
		for i := range n {
			d := (pqp - qp[i]) / q[i*n+i]
			x[i] += d
			pqp = (pqp + d*(d*q[i*n+i]+2*qp[i])) / (1 + d) / (1 + d)
			for j := range n {
				qp[j] = (qp[j] + d*q[i*n+j]) / (1 + d)
				x[j] /= 1 + d
			}
		}
	}
	for i := range p {
		p[i] = float32(x[i])
	}
}

// linearMachine is a classifier without support vectors: one row of coefficients per class.
func linearMachine(n *node, m machine, k classes, s scores) (kernel, error) {
	classes := k.len()
	if len(m.coefficients)%classes != 0 {
		n.wrong("it has %d coefficients for %d classes", len(m.coefficients), classes)
	}
	m.features, m.kernel = len(m.coefficients)/classes, "LINEAR"
	positive := true
	for _, v := range m.coefficients {
		positive = positive && v >= 0
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		rows, x := m.rows(c, in[0])
		shape := c.ints(2)
		shape[0], shape[1] = rows, classes
		var spare tensor.Tensor
		second := &spare
		if len(out) > 1 {
			second = &out[1]
		}
		v := c.f32s(second, shape)
		for i := range v {
			row, class := i/classes, i%classes
			v[i] = float32(m.dot(x[row*m.features:(row+1)*m.features], m.coefficients[class*m.features:(class+1)*m.features]) + float64(m.rho[0]))
		}
		k.labels(c, &out[0], rows, func(r int) int {
			line := v[r*classes : (r+1)*classes]
			best := argMax(line)
			if classes == 2 && (positive && line[best] >= 0.5 || !positive && line[best] > 0) {
				return 1
			}
			return best
		})
		for r := range rows {
			s.row(v[r*classes : (r+1)*classes])
		}
		c.tick(len(v) * m.features)
	}, nil
}
