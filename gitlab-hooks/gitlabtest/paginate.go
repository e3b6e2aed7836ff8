package gitlabtest

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

const (
	defaultPage = 20
	largestPage = 100
)

// window reads page and per_page.
func (c *call) window() (page, per int, err error) {
	if page, err = c.params.number("page", 1); err != nil {
		return 0, 0, err
	}
	if per, err = c.params.number("per_page", defaultPage); err != nil {
		return 0, 0, err
	}
	if per < 1 {
		return 0, 0, invalid("per_page does not have a valid value")
	}
	return max(page, 1), min(per, largestPage), nil
}

// paginate cuts a page out of a list and sets GitLab's headers.
func paginate[T any](c *call, all []T) ([]T, error) {
	page, per, err := c.window()
	if err != nil {
		return nil, err
	}
	pages := max((len(all)+per-1)/per, 1)
	next := 0
	if page < pages {
		next = page + 1
	}
	c.offsetHeaders(page, per, next, len(all), pages)
	return cut(all, page, per), nil
}

// paginateGitaly cuts as GitLab does for branches and trees: on the first page, it always claims that there is a second
// one.
func paginateGitaly[T any](c *call, all []T) ([]T, error) {
	page, per, err := c.window()
	if err != nil || page > 1 {
		if err != nil {
			return nil, err
		}
		return paginate(c, all)
	}
	c.offsetHeaders(1, per, 2, len(all), len(all)/per+1)
	return cut(all, 1, per), nil
}

// paginateKeyset gives what follows the entry that page_token names; a full page has a link to the next.
func paginateKeyset[T any](c *call, all []T, token func(T) string) ([]T, error) {
	_, per, err := c.window()
	if err != nil {
		return nil, err
	}
	if after := c.params.text("page_token"); after != "" {
		for i, entry := range all {
			if token(entry) == after {
				all = all[i+1:]
				break
			}
		}
	}
	all = all[:min(len(all), per):min(len(all), per)]
	if len(all) == per {
		query := c.query()
		query.Set("page_token", token(all[per-1]))
		c.w.Header().Set("Link", c.link(query, "next"))
	}
	return all, nil
}

func cut[T any](all []T, page, per int) []T {
	from := min((page-1)*per, len(all))
	return append([]T{}, all[from:min(from+per, len(all))]...) // [], not null
}

// offsetHeaders tells of pages; next is 0 on the last one.
func (c *call) offsetHeaders(page, per, next, total, pages int) {
	previous := ""
	var links []string
	link := func(page int, relation string) {
		query := c.query()
		query.Set("page", strconv.Itoa(page))
		query.Set("per_page", strconv.Itoa(per))
		links = append(links, c.link(query, relation))
	}
	if page > 1 {
		previous = strconv.Itoa(page - 1)
		link(page-1, "prev")
	}
	following := ""
	if next > 0 {
		following = strconv.Itoa(next)
		link(next, "next")
	}
	link(1, "first")
	link(pages, "last")
	for name, value := range map[string]string{
		"X-Per-Page": strconv.Itoa(per), "X-Page": strconv.Itoa(page), "X-Next-Page": following, "X-Prev-Page": previous,
		"Link": strings.Join(links, ", "), "X-Total": strconv.Itoa(total), "X-Total-Pages": strconv.Itoa(pages),
	} {
		c.w.Header().Set(name, value)
	}
}

// query is what the caller asked, with the values of the path beside it, as GitLab's links have it.
func (c *call) query() url.Values {
	query := url.Values{}
	for name, value := range c.path {
		query.Set(name, value)
	}
	for name, values := range c.r.URL.Query() {
		query[name] = values
	}
	query.Del("private_token")
	query.Del("access_token")
	return query
}

func (c *call) link(query url.Values, relation string) string {
	return fmt.Sprintf("<%s%s?%s>; rel=%q", c.s.url, c.r.URL.EscapedPath(), query.Encode(), relation)
}
