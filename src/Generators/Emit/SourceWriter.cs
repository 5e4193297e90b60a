using System;
using System.Text;

namespace AttnCompose.Generators.Emit;

/// <summary>Text with indentation. The only string plumbing of the emitters; every line ends in LF.</summary>
internal sealed class SourceWriter
{
    private readonly StringBuilder _text = new();
    private int _indentation;

    /// <summary>Writes text that may have several lines, each indented; an empty line stays empty.</summary>
    public void WriteLine(string text)
    {
        foreach (string line in text.Replace("\r\n", "\n").Split('\n'))
        {
            if (line.Length > 0)
                _text.Append(' ', _indentation * 4).Append(line);
            _text.Append('\n');
        }
    }

    /// <summary>Writes an empty line.</summary>
    public void WriteLine() => _text.Append('\n');

    /// <summary>Writes a line only where a condition holds.</summary>
    public void WriteLineIf(bool condition, string text)
    {
        if (condition)
            WriteLine(text);
    }

    /// <summary>Writes a heading that fills the line, so that stages stand out.</summary>
    public void WriteHeading(string text)
    {
        int width = Math.Max(4, 110 - _indentation * 4 - text.Length);
        WriteLine($"// -- {text} {new string('-', width)}");
    }

    /// <summary>Opens a brace; disposing the result closes it.</summary>
    public Block WriteBlock(string head, string close = "}")
    {
        WriteLine(head);
        WriteLine("{");
        _indentation++;
        return new Block(this, close);
    }

    /// <summary>Opens a brace at the end of the line, as the device code does; disposing the result closes it.</summary>
    public Block WriteDeviceBlock(string head, string close = "}")
    {
        WriteLine(head + " {");
        _indentation++;
        return new Block(this, close);
    }

    /// <summary>Indents until the result is disposed.</summary>
    public Block Indent()
    {
        _indentation++;
        return new Block(this, null);
    }

    public override string ToString() => _text.ToString();

    public readonly struct Block(SourceWriter writer, string? close) : IDisposable
    {
        public void Dispose()
        {
            writer._indentation--;
            if (close is not null)
                writer.WriteLine(close);
        }
    }
}
