package packer

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"net"
	"os"
	"time"
)

// monitorLimit bounds one talk with QEMU. Its main loop may be busy; a build
// must not wait for it.
const monitorLimit = 3 * time.Second

// maxScreen bounds a picture in pixels; what a guest asks for is not trusted.
const maxScreen = 64 << 20

// monitor talks QMP over the socket that the wrapper added: one command at a
// time, one connection a command.
type monitor struct{ socket string }

type reply struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
}

// run sends one command and returns the answer.
func (m monitor) run(command string, args any) (json.RawMessage, error) {
	conn, err := net.DialTimeout("unix", m.socket, monitorLimit)
	if err != nil {
		return nil, fmt.Errorf("qemu's monitor: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(monitorLimit)); err != nil {
		return nil, fmt.Errorf("qemu's monitor: %w", err)
	}
	out, in := json.NewEncoder(conn), json.NewDecoder(conn)
	var greeting json.RawMessage
	if err := in.Decode(&greeting); err != nil {
		return nil, fmt.Errorf("qemu's monitor does not greet: %w", err)
	}
	if _, err := exchange(out, in, "qmp_capabilities", nil); err != nil {
		return nil, err
	}
	return exchange(out, in, command, args)
}

func exchange(out *json.Encoder, in *json.Decoder, command string, args any) (json.RawMessage, error) {
	request := map[string]any{"execute": command}
	if args != nil {
		request["arguments"] = args
	}
	if err := out.Encode(request); err != nil {
		return nil, fmt.Errorf("qmp %s: %w", command, err)
	}
	for {
		var r reply
		if err := in.Decode(&r); err != nil {
			return nil, fmt.Errorf("qmp %s: %w", command, err)
		}
		switch {
		case r.Event != "":
		case r.Error != nil:
			return nil, fmt.Errorf("qmp %s: %s", command, r.Error.Desc)
		default:
			return r.Return, nil
		}
	}
}

// status is running, paused, io-error, guest-panicked, …
func (m monitor) status() (string, error) {
	answer, err := m.run("query-status", nil)
	if err != nil {
		return "", err
	}
	var s struct {
		Status string `json:"status"`
	}
	if err := json.Unmarshal(answer, &s); err != nil {
		return "", fmt.Errorf("qmp query-status: %w", err)
	}
	return s.Status, nil
}

// screenshot writes the guest's screen to path as PNG. It replaces what is there
// only when the picture is complete.
func (m monitor) screenshot(path string) error {
	part := path + ".part"
	_, err := m.run("screendump", map[string]any{"filename": part, "format": "png"})
	if err != nil {
		// QEMU before 7.1 knows only PPM.
		if _, err = m.run("screendump", map[string]any{"filename": part}); err == nil {
			err = convertPPM(part)
		}
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(part)))
	}
	return os.Rename(part, path)
}

// convertPPM rewrites a binary PPM picture as PNG.
func convertPPM(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	picture, err := readPPM(bufio.NewReader(f))
	if err != nil {
		return fmt.Errorf("screen %s: %w", path, err)
	}
	out, err := os.Create(path + ".png")
	if err != nil {
		return err
	}
	err = errors.Join(png.Encode(out, picture), out.Close())
	if err != nil {
		return errors.Join(err, os.Remove(out.Name()))
	}
	return os.Rename(out.Name(), path)
}

func readPPM(r *bufio.Reader) (image.Image, error) {
	var width, height, depth int
	if _, err := fmt.Fscanf(r, "P6\n%d %d\n%d\n", &width, &height, &depth); err != nil {
		return nil, fmt.Errorf("not a PPM picture: %w", err)
	}
	if width <= 0 || height <= 0 || width > maxScreen/height || depth != 255 {
		return nil, fmt.Errorf("a picture of %d x %d with depth %d is not expected", width, height, depth)
	}
	picture := image.NewNRGBA(image.Rect(0, 0, width, height))
	row := make([]byte, 3*width)
	for y := range height {
		if _, err := io.ReadFull(r, row); err != nil {
			return nil, fmt.Errorf("the picture is cut off: %w", err)
		}
		for x := range width {
			picture.SetNRGBA(x, y, color.NRGBA{R: row[3*x], G: row[3*x+1], B: row[3*x+2], A: 255})
		}
	}
	return picture, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
