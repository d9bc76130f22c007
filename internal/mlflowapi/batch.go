package mlflowapi

import (
	"cmp"
	"math"
	"strconv"

	"keelson/internal/problem"
	"keelson/internal/tensor"
	"keelson/internal/tracking"
)

// readBatch reads the body of log-batch. encoding/json would be the largest cost of the call.
func readBatch(b []byte) (run string, batch tracking.Batch, err error) {
	s := tensor.NewScanner(b)
	if s.Peek() == 0 {
		return "", batch, missing("run_id")
	}
	var uuid string
	err = s.Object(func(key string) error {
		switch key {
		case "run_id":
			return readText(s, &run)
		case "run_uuid":
			return readText(s, &uuid)
		case "metrics":
			return list(s, func() error {
				p, err := readPoint(s)
				batch.Metrics = append(batch.Metrics, p)
				return err
			})
		case "params":
			return list(s, func() error {
				p, err := readPair(s)
				batch.Params = append(batch.Params, p)
				return err
			})
		case "tags":
			return list(s, func() error {
				p, err := readPair(s)
				batch.Tags = append(batch.Tags, p)
				return err
			})
		}
		return s.Skip()
	})
	if err == nil {
		err = s.End()
	}
	if run = cmp.Or(run, uuid); run == "" {
		return "", batch, because(missing("run_id"), err)
	}
	return run, batch, err
}

// list reads an array; null is an empty one.
func list(s *tensor.Scanner, item func() error) error {
	if s.Null() {
		return nil
	}
	return s.Array(func(int) error { return item() })
}

func readText(s *tensor.Scanner, into *string) (err error) {
	if s.Null() {
		return nil
	}
	*into, err = s.String()
	return err
}

func readPair(s *tensor.Scanner) (p tracking.Pair, err error) {
	err = s.Object(func(key string) error {
		switch key {
		case "key":
			return readText(s, &p.Key)
		case "value":
			return readText(s, &p.Value)
		}
		return s.Skip()
	})
	return p, err
}

func readPoint(s *tensor.Scanner) (p tracking.Point, err error) {
	value, at := false, false
	err = s.Object(func(key string) (err error) {
		switch key {
		case "value":
			value = !isNull(s)
		case "timestamp":
			at = !isNull(s)
		}
		return readPointField(s, key, "metrics.", &p)
	})
	switch {
	case err != nil:
		return p, err
	case !value:
		return p, missing("metrics.value")
	case !at:
		return p, missing("metrics.timestamp")
	}
	return p, nil
}

// readPointField reads the member key of a point; where says whose it is in an error. Others are skipped.
func readPointField(s *tensor.Scanner, key, where string, p *tracking.Point) (err error) {
	switch key {
	case "key":
		return readText(s, &p.Key)
	case "value":
		p.Value, err = readNumber(s, where+key)
	case "timestamp":
		p.At, err = readInteger(s, where+key)
	case "step":
		p.Step, err = readInteger(s, where+key)
	case "model_id":
		return readText(s, &p.Model)
	case "dataset_name":
		return readText(s, &p.Dataset)
	case "dataset_digest":
		return readText(s, &p.DatasetDigest)
	default:
		return s.Skip()
	}
	return err
}

// readNumber reads a number or a string with one. A bare NaN or infinity is refused: many programs read it as 0.
func readNumber(s *tensor.Scanner, name string) (float64, error) {
	switch s.Peek() {
	case 'n':
		if s.Null() {
			return 0, nil
		}
	case '"':
		text, err := s.String()
		if err != nil {
			return 0, err
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil && !math.IsInf(v, 0) {
			return 0, invalid(name, strconv.Quote(text))
		}
		return v, nil
	case 'N', 'I':
		return 0, bare(name)
	}
	v, err := s.Float()
	if err == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
		return 0, bare(name)
	}
	return v, err
}

func bare(name string) error {
	return problem.New(problem.Invalid, "Invalid value for parameter '%s' supplied: NaN and infinities are not JSON; send the string \"NaN\", \"Infinity\" or \"-Infinity\".", name).At(name)
}

// readInteger reads an int64 as a number or a string.
func readInteger(s *tensor.Scanner, name string) (int64, error) {
	switch c := s.Peek(); {
	case c == 'n' && s.Null():
		return 0, nil
	case c == '"':
		text, err := s.String()
		if err != nil {
			return 0, err
		}
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, invalid(name, strconv.Quote(text))
		}
		return v, nil
	}
	start := s.Pos
	for s.Pos < len(s.Data) && (s.Data[s.Pos] == '-' || s.Data[s.Pos] >= '0' && s.Data[s.Pos] <= '9') {
		s.Pos++
	}
	if s.Pos < len(s.Data) {
		switch s.Data[s.Pos] {
		case '.', 'e', 'E': // 3.0 is a whole number, too
			s.Pos = start
			v, err := s.Float()
			if err == nil && (v != math.Trunc(v) || math.Abs(v) >= 1<<63) {
				err = invalid(name, strconv.FormatFloat(v, 'g', -1, 64))
			}
			return int64(v), err
		}
	}
	v, err := strconv.ParseInt(string(s.Data[start:s.Pos]), 10, 64)
	if err != nil {
		return 0, invalid(name, strconv.Quote(problem.Clip(string(s.Data[start:min(len(s.Data), s.Pos+20)]), 40)))
	}
	return v, nil
}
