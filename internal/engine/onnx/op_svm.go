package onnx

import (
	"math"

	"keelson/internal/tensor"
)

// machine is the part that both support vector operators share: kernels between a row and the support vectors.
type machine struct {
	kernel               string
	gamma, coef0, degree float32
	vectors              []float32
	coefficients, rho    []float32
	count, features      int
}

func (n *node) machine(count int) machine {
	m := machine{kernel: n.text("kernel_type", "LINEAR"), vectors: n.floats("support_vectors"), coefficients: n.floats("coefficients"), rho: n.floats("rho"), count: count}
	if p := n.floats("kernel_params"); len(p) >= 3 {
		m.gamma, m.coef0, m.degree = p[0], p[1], p[2]
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

// kernels computes rows × count kernel values in float32, in onnxruntime's order.
func (m *machine) kernels(c *call, x []float32, rows int, out []float32) {
	if m.kernel == "RBF" {
		for r := range rows {
			row := x[r*m.features : (r+1)*m.features]
			for k := range m.count {
				var sum float32
				for i, a := range m.vectors[k*m.features : (k+1)*m.features] {
					d := row[i] - a
					sum += float32(d * d)
				}
				out[r*m.count+k] = exp32(-m.gamma * sum)
			}
			c.tick(2 * len(m.vectors))
		}
		return
	}
	g := gemm32{m: rows, k: m.features, n: m.count, alpha: 1, turned: true}
	if m.kernel != "LINEAR" {
		if g.alpha = m.gamma; m.coef0 != 0 {
			g.add = true
			for i := range out {
				out[i] = m.coef0
			}
		}
	}
	g.run(c, x, m.vectors, out)
	switch {
	case m.kernel == "SIGMOID":
		for i, v := range out {
			out[i] = tanh32(v)
		}
	case m.kernel == "POLY" && m.degree == 2:
		for i, v := range out {
			out[i] = v * v
		}
	case m.kernel == "POLY" && m.degree == 3:
		for i, v := range out {
			out[i] = float32(v*v) * v
		}
	case m.kernel == "POLY":
		for i, v := range out {
			out[i] = power32(v, m.degree)
		}
	}
	c.tick(2 * len(out))
}

// blocks visits the rows from..to whose kernels are held at once, about 2²⁰ of them in one buffer. A last block of one row is
// joined to the one before: the product of a single row would run in another order.
func (m *machine) blocks(c *call, x []float32, rows int, visit func(from, to int, near []float32)) {
	step := max(2, (1<<20)/m.count)
	c.spend(c.count([]int{min(rows, step+1), m.count}), 4)
	near := c.f32.take(min(rows, step+1) * m.count)
	for from := 0; from < rows; {
		to := min(from+step, rows)
		if to == rows-1 {
			to = rows
		}
		part := near[:(to-from)*m.count]
		m.kernels(c, x[from*m.features:to*m.features], to-from, part)
		visit(from, to, part)
		from = to
	}
}

// power32 squares and multiplies for whole exponents, rounding each time, as Eigen does.
func power32(v, exponent float32) float32 {
	m := math.Abs(float64(exponent))
	if m != math.Floor(m) || m > 1<<24 {
		return float32(math.Pow(float64(v), float64(exponent)))
	}
	if m == 0 {
		return 1
	}
	if exponent < 0 {
		v = 1 / v
	}
	rest := float32(1)
	for k := int(m); k > 1; k /= 2 {
		if k%2 != 0 {
			rest *= v
		}
		v *= v
	}
	return rest * v
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
		for r := range v {
			v[r] = m.rho[0]
		}
		if m.count == 0 {
			gemm32{m: rows, k: m.features, n: 1, alpha: 1, turned: true, add: true}.run(c, x, m.coefficients, v)
		} else {
			m.blocks(c, x, rows, func(from, to int, near []float32) {
				gemm32{m: to - from, k: m.count, n: 1, alpha: 1, turned: true, add: true}.run(c, near, m.coefficients, v[from:to])
			})
		}
		for r, f := range v {
			switch {
			case oneClass && f > 0:
				v[r] = 1
			case oneClass:
				v[r] = -1
			case s.transform == "PROBIT":
				v[r] = probit(f)
			}
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
		c.spend(pairs+3*classes*classes, 8)
		raw := c.f32.take(pairs)
		var cp coupling
		if proba {
			cp = coupling{a: probA, b: probB, r: c.f32.take(classes * classes), q: c.f32.take(classes * classes), qp: c.f32.take(classes)}
		}
		votes := c.ints(classes)
		chosen := c.ints(rows)
		row := func(r int, near []float32) {
			clear(votes)
			pair := 0
			for i := range classes {
				for j := i + 1; j < classes; j++ {
					sum := 0.0
					for p := start[i]; p < start[i+1]; p++ {
						sum += float64(m.coefficients[(j-1)*m.count+p] * near[p])
					}
					for p := start[j]; p < start[j+1]; p++ {
						sum += float64(m.coefficients[i*m.count+p] * near[p])
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
				cp.apply(raw, line)
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
			c.tick(classes * m.count)
		}
		m.blocks(c, x, rows, func(from, to int, near []float32) {
			for r := from; r < to; r++ {
				row(r, near[(r-from)*m.count:(r-from+1)*m.count])
			}
		})
		k.labels(c, &out[0], rows, func(r int) int { return chosen[r] })
	}, nil
}

// coupling holds the sigmoids of pairs of classes and the room that one row after the other is worked out in.
type coupling struct {
	a, b     []float32
	r, q, qp []float32 // classes², classes², classes
}

// apply turns the scores of pairs of classes into one probability per class: Wu, Lin and Weng, Probability Estimates
// for Multi-class Classification by Pairwise Coupling, 2004, method 2. The iteration stops at 0.005/classes, so that the
// answer is where onnxruntime's stops, in float32 from its first estimate on, for two classes too.
func (k *coupling) apply(raw, p []float32) {
	n, r, q, qp := len(p), k.r, k.q, k.qp
	clear(q)
	pair := 0
	for i := range n {
		for j := i + 1; j < n; j++ {
			v := 1 - logistic(float32(raw[pair]*k.a[pair])+k.b[pair])
			v = min(max(v, 1e-7), 1-1e-7)
			r[i*n+j], r[j*n+i] = v, 1-v
			pair++
		}
	}
	for i := range n {
		p[i] = 1 / float32(n)
		for j := range n {
			if i == j {
				continue
			}
			q[i*n+i] += float32(r[j*n+i] * r[j*n+i])
			if q[i*n+j] = -r[j*n+i] * r[i*n+j]; j < i {
				q[i*n+j] = q[j*n+i]
			}
		}
	}
	for range 100 {
		var pqp, worst float32
		for i := range n {
			qp[i] = 0
			for j := range n {
				qp[i] += float32(q[i*n+j] * p[j])
			}
			pqp += float32(p[i] * qp[i])
		}
		for i := range n {
			d := qp[i] - pqp
			worst = max(worst, d, -d)
		}
		if worst < 0.005/float32(n) {
			break
		}
		for i := range n {
			d := (pqp - qp[i]) / q[i*n+i]
			p[i] += d
			inner := float32(d*q[i*n+i]) + float32(2*qp[i])
			pqp = (pqp + float32(d*inner)) / (1 + d) / (1 + d)
			for j := range n {
				qp[j] = (qp[j] + float32(d*q[i*n+j])) / (1 + d)
				p[j] /= 1 + d
			}
		}
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
			v[i] = m.rho[0]
		}
		gemm32{m: rows, k: m.features, n: classes, alpha: 1, turned: true, add: true}.run(c, x, m.coefficients, v)
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
	}, nil
}
