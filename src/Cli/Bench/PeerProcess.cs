using System.Diagnostics;
using System.Text;
using System.Text.Json;

namespace AttnCompose.Cli.Bench;

/// <summary>
/// Peers in a process of their own, such as <c>python3 benchmarks/peers.py --serve</c>, that lives as long as the run: one
/// line of JSON asks, one line answers, and the peer works only in between. So both sides can take turns on one GPU.
/// <code>
/// {"op": "info"}                                  {"ok": true, "info": {"torch": "2.11", ...}}
/// {"op": "open", "case": {...}}                   {"ok": true, "contenders": [{"implementation": "...", what differs}]}
/// {"op": "prepare", "implementation": "..."}      {"ok": true, "note": "..."}
/// {"op": "sample", "implementation": "..."}       {"ok": true, "ms": 0.5}
/// {"op": "close"}                                 {"ok": true}
/// </code>
/// An answer with <c>"ok": false</c> has an <c>"error"</c>. The end of the input ends the peer.
/// </summary>
internal sealed class PeerProcess : IDisposable
{
    private const int KeptErrorLines = 20;
    private static readonly TimeSpan s_deadline = TimeSpan.FromMinutes(5);
    private static readonly TimeSpan s_farewell = TimeSpan.FromSeconds(10);

    private readonly Process _process;
    private readonly Queue<string> _errors = new();

    /// <summary>Starts the peers.</summary>
    /// <param name="command">A command line for the system's shell.</param>
    /// <exception cref="CommandException">It does not start, or it does not answer.</exception>
    public PeerProcess(string command)
    {
        var start = OperatingSystem.IsWindows()
            ? new ProcessStartInfo("cmd.exe", ["/d", "/c", command])
            : new ProcessStartInfo("/bin/sh", ["-c", $"exec {command}"]);
        start.RedirectStandardInput = start.RedirectStandardOutput = start.RedirectStandardError = true;
        start.StandardInputEncoding = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false);
        _process = Process.Start(start) ?? throw new CommandException($"--peers-command '{command}' does not start.");
        _process.ErrorDataReceived += (_, line) => Keep(line.Data);
        _process.BeginErrorReadLine();
        try
        {
            Info = [.. Ask("info", null).GetProperty("info").EnumerateObject()
                .Select(fact => KeyValuePair.Create(fact.Name, fact.Value.ToString()))];
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Versions and the like, by name.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Info { get; }

    /// <summary>Opens a problem: the peers that have an answer to it. Close them before the next.</summary>
    public IReadOnlyList<IContender> Open(BenchCase problem)
    {
        JsonElement answer = Ask("open", json =>
        {
            json.WriteStartObject("case");
            BenchJson.WriteCase(json, problem);
            json.WriteEndObject();
        });
        return [.. answer.GetProperty("contenders").EnumerateArray()
            .Select(peer => BenchJson.ReadRow(peer, problem))
            .Select(row => new Peer(this, row.Implementation, row.Case))];
    }

    /// <summary>Frees the memory of a problem.</summary>
    public void Close() => Ask("close", null);

    public void Dispose()
    {
        try
        {
            _process.StandardInput.Close();
            if (!_process.WaitForExit(s_farewell))
                _process.Kill(entireProcessTree: true);
        }
        catch (Exception error) when (error is IOException or InvalidOperationException)
        {
            // It is gone already.
        }
        _process.Dispose();
    }

    private JsonElement Ask(string operation, Action<Utf8JsonWriter>? arguments)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteString("op", operation);
            arguments?.Invoke(json);
            json.WriteEndObject();
        }
        string? line = null;
        try
        {
            _process.StandardInput.WriteLine(Encoding.UTF8.GetString(buffer.ToArray()));
            _process.StandardInput.Flush();
            Task<string?> reading = _process.StandardOutput.ReadLineAsync();
            if (!reading.Wait(s_deadline))
            {
                _process.Kill(entireProcessTree: true); // a late answer must not be taken for that to the next question
                throw new CommandException(
                    $"The peers did not answer '{operation}' in {s_deadline.TotalMinutes:0} minutes.{LastErrors()}");
            }
            line = reading.Result;
        }
        catch (IOException)
        {
            // The same as an end of its output.
        }
        if (line is null)
            throw new CommandException($"The peers ended at '{operation}'.{LastErrors()}");
        try
        {
            using JsonDocument document = JsonDocument.Parse(line);
            JsonElement answer = document.RootElement.Clone();
            if (!answer.GetProperty("ok").GetBoolean())
                throw new PeerException(CommandLine.OneLine(answer.GetProperty("error").GetString() ?? "no reason given"));
            return answer;
        }
        catch (Exception error) when (error is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw new CommandException($"The peers answered '{operation}' with what is no answer: {line}");
        }
    }

    private void Keep(string? line)
    {
        if (string.IsNullOrWhiteSpace(line))
            return;
        lock (_errors)
        {
            _errors.Enqueue(line);
            if (_errors.Count > KeptErrorLines)
                _errors.Dequeue();
        }
    }

    private string LastErrors()
    {
        lock (_errors)
            return _errors.Count == 0 ? "" : $" They said last: {_errors.Last()}";
    }

    /// <summary>One peer on the problem that is open.</summary>
    private sealed class Peer(PeerProcess process, string implementation, BenchCase problem) : IContender
    {
        public string Implementation => implementation;

        public bool IsOwn => false;

        public BenchCase Case => problem;

        public string Note { get; private set; } = "";

        public void Prepare()
        {
            JsonElement answer = process.Ask("prepare", Name);
            Note = answer.TryGetProperty("note", out JsonElement note) ? note.GetString() ?? "" : "";
        }

        public double Sample() => process.Ask("sample", Name).GetProperty("ms").GetDouble();

        public void Dispose()
        {
        }

        private void Name(Utf8JsonWriter json) => json.WriteString("implementation", implementation);
    }
}

/// <summary>A peer could not do what it was asked; the others can.</summary>
internal sealed class PeerException(string message) : Exception(message);
