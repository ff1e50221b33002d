package main

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 150 25 99 99 20 0"
	for name, stat := range map[string]string{
		"simple":               "77 (envoy)" + rest,
		"a name with brackets": "77 (a) (b c)" + rest,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat([]byte(stat))
			require.NoError(t, err)
			assert.Equal(t, 1750*time.Millisecond, got)
		})
	}
	for _, bad := range []string{"", "77 (x) S 1 2", "77 (x) S 1 2 3 4 5 6 7 8 9 10 a b c"} {
		_, err := parseStat([]byte(bad))
		assert.Error(t, err, "%q", bad)
	}
}

func TestCPUTimeOfThisProcess(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	require.NoError(t, err)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		now, err := cpuTime(os.Getpid())
		require.NoError(t, err)
		if now > before {
			return
		}
	}
	t.Fatal("a minute of work cost nothing")
}

func TestUsableCPUs(t *testing.T) {
	assert.NotEmpty(t, usableCPUs())
}

func TestParseStatm(t *testing.T) {
	got, err := parseStatm([]byte("1000 250 30 4 0 5 0\n"), 4096)
	require.NoError(t, err)
	assert.Equal(t, uint64(250*4096), got)
	for _, bad := range []string{"", "1", "1 x"} {
		_, err := parseStatm([]byte(bad), 4096)
		require.Error(t, err, "%q", bad)
	}
	mine, err := residentBytes(os.Getpid())
	require.NoError(t, err)
	assert.Greater(t, mine, uint64(1<<20))
}

func TestAlarm(t *testing.T) {
	a := newAlarm()
	defer a.stop()
	require.NotNil(t, a.file)
	for range 3 {
		due := time.Now().Add(3 * time.Millisecond)
		a.sleepUntil(due)
		assert.False(t, time.Now().Before(due))
	}
	a.sleepUntil(time.Now().Add(-time.Second)) // at once
	without := &alarm{}
	due := time.Now().Add(time.Millisecond)
	without.sleepUntil(due)
	assert.False(t, time.Now().Before(due), "without the kernel's timer Go's has to do")
	without.stop()
	(*alarm)(nil).stop()
}
