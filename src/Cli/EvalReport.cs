using System.Globalization;
using System.Text;
using AttnCompose.Models;

namespace AttnCompose.Cli;

/// <summary>Results of evaluations as Markdown: a table for each file of prompts, dense attention first.</summary>
/// <param name="where">Which layers run the pipelines, in words.</param>
internal sealed class EvalReport(string where)
{
    private readonly List<(string Prompts, string Pipeline, string Settings, EvaluationResult Result)> _entries = [];

    /// <summary>Adds how a pipeline answered the prompts of a file.</summary>
    public void Add(string prompts, string pipeline, string settings, EvaluationResult result) =>
        _entries.Add((prompts, pipeline, settings, result));

    /// <summary>The tables. Pairs are those of the sparse layers alone; the attention's time is that of all layers.</summary>
    public string ToMarkdown()
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"In {where}.\n");
        foreach (var table in _entries.GroupBy(entry => entry.Prompts))
        {
            EvaluationResult first = table.First().Result;
            string kinds = string.Join(" | ", first.Rows.Select(row => row.Kind));
            text.Append(CultureInfo.InvariantCulture, $"\n**{table.Key}**, {first.Total.Prompts} prompts\n\n");
            text.Append(
                CultureInfo.InvariantCulture, $"| pipeline | options | {kinds} | tokens kept | pairs | attention s a prompt |\n");
            text.Append(CultureInfo.InvariantCulture, $"|---|---|{string.Concat(first.Rows.Select(_ => "---|"))}---|---|---|\n");
            Row("dense attention", "", first.Rows.Select(row => row.DenseAccuracy), 1, 1,
                first.Total.DenseAttentionSeconds / first.Total.Prompts);
            foreach (var (_, pipeline, settings, result) in table.Where(entry => entry.Pipeline != "dense-attention"))
            {
                EvaluationRow total = result.Total;
                Row($"`{pipeline}`", settings, result.Rows.Select(row => row.Accuracy), total.Kept, result.SparsePairs,
                    total.AttentionSeconds / total.Prompts);
            }
        }
        return text.ToString();

        void Row(string name, string settings, IEnumerable<double> accuracies, double kept, double pairs, double seconds) =>
            text.Append(CultureInfo.InvariantCulture, $"| {name} | {settings} | ")
                .AppendJoin(" | ", accuracies.Select(accuracy => accuracy.ToString("0.00", CultureInfo.InvariantCulture)))
                .Append(CultureInfo.InvariantCulture, $" | {100 * kept:0} % | {100 * pairs:0} % | {seconds:0.000} |\n");
    }
}
